{
  "variables": {
    # A warning stops the tests, not a user's setup: next year's compiler has warnings that nobody has seen.
    "strict": "<!(node -p \"process.env.CI ? '-Werror' : '-Wall'\")"
  },
  "targets": [
    {
      "target_name": "flashmoe",
      "sources": ["<!@(node native/sources.mjs)"],
      "include_dirs": [
        "<!(node -p \"require('node-addon-api').include_dir\")",
        "native",
        "native/include"
      ],
      "defines": ["NAPI_VERSION=9", "NAPI_CPP_EXCEPTIONS"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-O3", "-fno-math-errno", "-Wall", "-Wextra", "-Wno-cast-function-type", "-Wno-unused-parameter", "<(strict)"],
      "conditions": [
        ["OS=='mac'", {
          "libraries": ["-framework CoreGraphics", "-framework Foundation", "-framework Metal"],
          "xcode_settings": {
            "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
            "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
            "CLANG_CXX_LIBRARY": "libc++",
            "GCC_OPTIMIZATION_LEVEL": "3",
            "MACOSX_DEPLOYMENT_TARGET": "14.0",
            "OTHER_CPLUSPLUSFLAGS": ["-fno-math-errno", "-Wall", "-Wextra"],
            "CLANG_ENABLE_OBJC_ARC": "NO"
          }
        }],
        ["OS=='linux'", { "ldflags": ["-pthread"] }]
      ]
    }
  ]
}

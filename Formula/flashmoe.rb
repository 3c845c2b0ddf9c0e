# Installs a release of the npm package and builds its native part. `url` and `sha256` are written for
# each release; until there is one, install from a checkout (README.md).
class Flashmoe < Formula
  desc "Runs Mixture-of-Experts models far larger than memory, streamed from SSD"
  homepage "https://github.com/flashmoe/flashmoe"
  url "https://github.com/flashmoe/flashmoe/releases/download/v0.1.0/flashmoe-0.1.0.tgz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "MIT"

  livecheck do
    url :stable
    strategy :github_latest
  end

  # node-gyp runs on it, where the prebuilt addon does not load.
  depends_on "python" => :build
  depends_on arch: :arm64
  depends_on macos: :sonoma
  depends_on "node"

  def install
    system "npm", "install", *std_npm_args
    # Homebrew runs no install scripts. The prebuilt addon is taken when its hash is right and it loads;
    # else it is built here, against the headers of Homebrew's node.
    cd libexec/"lib/node_modules/flashmoe" do
      system Formula["node"].opt_bin/"node", "native/ensure.mjs"
    end
    bin.install_symlink libexec.glob("bin/*")
    generate_completions_from_executable(bin/"flashmoe", "completions")
    (man1/"flashmoe.1").write Utils.safe_popen_read(bin/"flashmoe", "man")
  end

  service do
    run [opt_bin/"flashmoe", "serve", "--as-service"]
    keep_alive successful_exit: false
    environment_variables PATH: std_service_path_env
    log_path var/"log/flashmoe.log"
    error_log_path var/"log/flashmoe.log"
    process_type :interactive
    throttle_interval 30
    stop_timeout 30
  end

  def caveats
    <<~EOS
      Set up a model next; it says what it will download and use before it begins:
        flashmoe setup

      To have the server at login use one of these, not both:
        brew services start flashmoe
        flashmoe service install
    EOS
  end

  test do
    ENV["FLASHMOE_HOME"] = testpath/"home"
    assert_match version.to_s, shell_output("#{bin}/flashmoe --version")

    # Loads the addon in a child process: a Node that can't is seen here.
    report = JSON.parse(shell_output("#{bin}/flashmoe doctor --only engine --json").lines.last)
    engine = report["findings"].find { |finding| finding["id"] == "engine.addon" }
    assert_equal "ok", engine["severity"]

    # The bundled model, provisioned offline: setup ends with answers that it judges.
    system bin/"flashmoe", "setup", "tiny", "--yes", "--no-service"
    assert_match "632", shell_output("#{bin}/flashmoe run 'What is 347 + 285?'")
  end
end

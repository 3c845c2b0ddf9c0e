// Runs every test, or those whose name contains the first argument. Closes with `N passed, N failed`.
#include <cstdio>
#include <cstring>

#include "test/harness.h"

int main(int count, char** arguments) {
    int passed = 0, failed = 0;
    for (const harness::Test& test : harness::tests()) {
        if (count > 1 && std::strstr(test.name, arguments[1]) == nullptr) continue;
        try {
            test.body();
            ++passed;
        } catch (const std::exception& error) {
            ++failed;
            std::printf("FAILED %s\n       %s\n", test.name, error.what());
        }
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}

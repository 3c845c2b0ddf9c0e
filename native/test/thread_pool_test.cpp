#include "core/thread_pool.h"

#include <numeric>

#include "test/harness.h"

using flashmoe::ThreadPool;

TEST("every index runs exactly once, on any number of threads, run after run") {
    for (const uint32_t threads : {1u, 2u, 3u, 8u}) {
        ThreadPool pool(threads);
        EXPECT_EQ(pool.size(), threads);
        for (uint32_t run = 0; run < 300; ++run) {
            const uint32_t count = run % 37;
            std::vector<std::atomic<int>> hits(count);
            pool.run(count, [&](uint32_t index, uint32_t worker) {
                if (worker < threads) hits[index].fetch_add(1);
            });
            for (const auto& hit : hits) EXPECT_EQ(hit.load(), 1);
        }
    }
}

TEST("what tasks wrote is visible to the caller, and what the caller wrote to the tasks") {
    ThreadPool pool(4);
    std::vector<uint64_t> values(64, 1);
    for (int run = 0; run < 500; ++run) {
        pool.run(64, [&](uint32_t index, uint32_t) { values[index] += 1; });
        const uint64_t sum = std::accumulate(values.begin(), values.end(), uint64_t{0});
        EXPECT_EQ(sum, 64u * (2 + static_cast<uint64_t>(run)));
    }
}

TEST("split covers a range without gaps, in parts no smaller than asked") {
    ThreadPool pool(3);
    for (const uint32_t items : {0u, 1u, 5u, 100u, 1001u}) {
        std::vector<std::atomic<int>> hits(items);
        std::atomic<bool> small{false};
        pool.split(items, 7, [&](uint32_t first, uint32_t last, uint32_t) {
            if (last - first < 7 && last != items) small = true;
            for (uint32_t i = first; i < last; ++i) hits[i].fetch_add(1);
        });
        for (const auto& hit : hits) EXPECT_EQ(hit.load(), 1);
        EXPECT(!small);
    }
}

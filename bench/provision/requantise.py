# The same work as a script with numpy does it: widen 4-bit codes, min and max of each group, 2-bit codes, pack. One thread;
# prints 4-bit input bytes a second of CPU time.
import time

import numpy as np

GROUPS = 1 << 17
rng = np.random.default_rng(1)
words = rng.integers(0, 1 << 32, size=(GROUPS, 8), dtype=np.uint32)
scales = ((0x3B80 | rng.integers(0, 128, GROUPS)).astype(np.uint32) << 16).view(np.float32)
biases = -scales
FOUR = np.arange(0, 32, 4, dtype=np.uint32)
TWO = np.arange(0, 32, 2, dtype=np.uint32)


def requantise():
    codes = (words[:, :, None] >> FOUR) & 15
    values = codes.reshape(GROUPS, 64).astype(np.float32) * scales[:, None] + biases[:, None]
    low, high = values.min(axis=1), values.max(axis=1)
    step = np.maximum((high - low) / 3, 1e-9)
    narrow = np.clip(np.round((values - low[:, None]) / step[:, None]), 0, 3).astype(np.uint32)
    packed = np.bitwise_or.reduce(narrow.reshape(GROUPS, 4, 16) << TWO, axis=2)
    return packed, (step.view(np.uint32) >> 16).astype(np.uint16), (low.view(np.uint32) >> 16).astype(np.uint16)


best = 0
for _ in range(3):
    before = time.process_time()
    requantise()
    best = max(best, GROUPS * 36 / (time.process_time() - before))
print(int(best))

// Where a prompt worker's thread begins. A module of its own, because a thread starts from a file as it lies on the
// disk, while all that it imports may still have to lose its types.

import { stepBack } from '../step-back.mjs';
import './answer-questions.js';

stepBack();

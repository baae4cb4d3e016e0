"""One thread: the networks here are tiny, and threads that wait for each other make them slow."""

import torch

torch.set_num_threads(1)

"""One thread, since the networks here are tiny and threads that wait for each other make them slow; and patience:
a busy machine is no failure, so hypothesis sets no time limits.
"""

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

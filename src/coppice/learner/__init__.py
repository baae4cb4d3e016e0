"""A learner that a person can use: tasks come one after another, and none of their samples stays.

    learner = Learner(seed=0)
    learner.learn("digits", (x, y))          x [n, 1, 8, 8], y [n]; a month later:
    learner.learn("gestures", (x, y))        sequences [n, length, channel], say
    learner.predict(x, task="digits")        or without a task, which is then inferred
    learner.save("mine"); Learner.load("mine")

A growing spiking network (`models.modular_snn`) that TD-MCL teaches (`methods.td_mcl`).
"""

from coppice.data.samples import Samples
from coppice.learner.learned import Learned, Prediction
from coppice.learner.learner import Learner
from coppice.methods.td_mcl_options import TDMCL, Schooling
from coppice.models.modular_blocks import ModularPlan

__all__ = ["TDMCL", "Learned", "Learner", "ModularPlan", "Prediction", "Samples", "Schooling"]

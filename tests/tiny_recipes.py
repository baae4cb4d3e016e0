"""Overrides that make a recipe a second's work."""

SEARCH = [
    "model.hidden=[24]",
    "training.batch=64",
    "method.pretrain_epochs=2",
    "method.plateau=0",
    "method.retrain_steps=0",
    "method.tune_epochs=2",
    "method.share=0.4",
]
FORECAST = ["model.hidden=6", "training.epochs=3", "training.batch=256", "method.every=1"]
STREAM = ["schooling.epochs=2", 'data.tasks=["digits-1", "cart-pole"]', "data.samples=30"]

"""Synaptic pruning inside other people's trainers, in one line each. Nothing is imported until its module is."""

"""Training: label assignment, loss, augmentation, recipes and the loop.

Needs torch (`edgeyolo[train]`).
"""

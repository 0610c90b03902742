"""Damaged files of every kind, thrown at what reads them.

python -m tests.fuzz --seed=0 --cases=2000
"""

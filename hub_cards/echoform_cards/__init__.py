"""Model cards, data-set cards and the README of a Space, written from facts that runs measured."""

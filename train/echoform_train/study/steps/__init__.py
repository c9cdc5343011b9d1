"""The steps of `echoform augment`, in the order in which they are made."""

def fell(millimetres):
    return millimetres > 2

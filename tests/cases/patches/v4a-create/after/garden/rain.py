def fell(millimetres: float) -> bool:
    return millimetres > 2

def wet(bed):
    bed.days = 0
    return bed


def dry(bed):
    bed.days = 0
    return bed

other
words

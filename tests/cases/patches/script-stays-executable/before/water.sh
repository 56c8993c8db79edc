#!/bin/sh
set -e
python -m garden.beds

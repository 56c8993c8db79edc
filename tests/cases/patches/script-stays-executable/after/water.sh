#!/bin/sh
set -eu
python -m garden.beds

# Usage: python -c <this> REFERENCE.wav DEGRADED.wav
# Prints the narrow-band PESQ score (ITU-T P.862.1), or "silent" when nobody speaks.
import sys
import wave

import numpy
import pesq


def samples(path):
    with wave.open(path) as sound:
        return numpy.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")


reference, degraded = samples(sys.argv[1]), samples(sys.argv[2])
try:
    # Digital silence makes the scorer divide by zero.
    heard = degraded.any()
    print(pesq.pesq(8000, reference, degraded, "nb") if heard else "silent")
except pesq.NoUtterancesError:
    print("silent")

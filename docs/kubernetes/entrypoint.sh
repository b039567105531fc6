#!/bin/sh
# Runs a command and makes its exit code 75, "try again", one that the Training Operator starts again: 75 + 128.
# The operator takes what is below 128 for a mistake that stays one. As the first process of the container it also has
# to pass SIGTERM on.
child=
trap 'kill -TERM $child 2>/dev/null' TERM
"$@" &
child=$!
wait "$child"
code=$?
# A signal ends the waiting before the command ends.
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done
[ "$code" -ne 75 ] || code=203
exit "$code"

#!/bin/sh
# Runs a compiler; what it says is kept beside the object as <object>.messages, where
# scripts/check-cuda.js reads registers and spills, and shown only when it fails.
previous=
object=/dev/null
for argument in "$@"; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
case $object in *.o) messages=$object.messages ;; *) exec "$@" ;; esac
"$@" >"$messages" 2>&1
status=$?
[ $status -eq 0 ] || cat "$messages" >&2
exit $status

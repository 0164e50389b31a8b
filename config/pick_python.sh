#!/bin/sh
# Prints the Python 3.11 to make .venv with; nothing where there is none.
#
# Rather one that was compiled with profiles: distributions' are, and what was configured with --enable-optimizations.
# What version managers build by default is not, and takes a third more CPU for the same work (docs/decisions/0032).

complete='__import__("ensurepip")'
profiled='sys.base_prefix == "/usr" or "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS"))'
for wanted in "$complete and ($profiled)" "$complete" True; do
    for name in python3.11 python3 python /usr/bin/python3.11; do
        if "$name" -I -c "import sys, sysconfig; sys.exit(not (sys.version_info[:2] == (3, 11) and $wanted))" 2>/dev/null; then
            echo "$name"
            exit
        fi
    done
done

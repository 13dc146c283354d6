#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER: the agent is linked statically, and at a fixed address, where it is built together with other crates.
case " $* " in
*" --crate-name isopod_agent "*" --crate-type bin "*) exec "$@" -C target-feature=+crt-static -C relocation-model=static ;;
esac
exec "$@"

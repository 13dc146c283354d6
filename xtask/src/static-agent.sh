#!/bin/sh
# RUSTC_WORKSPACE_WRAPPER: the agent alone gets the flags of ISOPOD_AGENT_CODE where it is built together with other crates.
case " $* " in
# Several words.
*" --crate-name isopod_agent "*" --crate-type bin "*) exec "$@" $ISOPOD_AGENT_CODE ;;
esac
exec "$@"

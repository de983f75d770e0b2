# shellcheck shell=bash disable=SC2154
# Part of scripts/demo, which sources it: apps that meet evicted offsets, new partitions and refused commits again and
# again, and go on, for whoever looks at the status page. Not one of the parts that run by themselves: `make demo-page`.
# It goes on until Ctrl+C.
#
# KMEND_DEMO_SECONDS=60 ends it after so long. It passes only if no error reached an app AND kmend mended something of
# each kind.

open 9644 || admin_port=9644
headline "Apps that go on through kmend ($listen)"
start_kmend
good "the status page: http://127.0.0.1:$admin_port/"
good "in a terminal:   $kmend status --admin http://127.0.0.1:$admin_port --watch"
printf '   it goes on until Ctrl+C; each round takes half a minute\n\n'

limit="${KMEND_DEMO_SECONDS:-86400}"
: >"$work/shop"
java_start "$limit" "$work/shop" Shop "$listen" "$broker"
java_pid=$!
follow "$java_pid" "$work/shop"
code=0
wait "$java_pid" || code=$?
java_pid=''
# Its time was up: nothing else ends it with this code.
[ "$code" -eq 124 ] || { quoted <"$work/shop.err" >&2; fail "an app has ended (exit code $code)"; }

counted '^kmend_(repairs_total|offset_records_skipped_total|partitions_added_total)'
for mender in offset_reset partition_discovery commit_buffer; do
  grep -qE "^kmend_repairs_total\{.*mender=\"$mender\"" "$work/metrics" || fail "$mender has mended nothing"
done
good "no error has reached an app"

# shellcheck shell=bash disable=SC2154
# Part of scripts/demo, which sources it: an app is frozen for longer than its session while it handles a
# payment, as by a long pause of its machine. The broker takes it for dead and refuses its next commit.
# Directly the app dies of that, through kmend it goes on.
#
# It passes only if the direct run died with CommitFailedException AND the run through kmend handled each
# payment once and has all of them committed.

payments=10 slow=4 frozen=8

# The program behind a `timeout`, which is what java_start leaves in $!.
java_behind() { # pid
  local child=''
  for _ in {1..50}; do
    child="$(pgrep -P "$1" 2>/dev/null || cat "/proc/$1/task/$1/children" 2>/dev/null)" || child=''
    [ -z "$child" ] || break
    sleep 0.1
  done
  echo "${child%% *}"
}

# Waits for a line.
await() { # file, line, pid
  for _ in {1..300}; do
    grep -q "$2" "$1" 2>/dev/null && return
    kill -0 "$3" 2>/dev/null || break
    sleep 0.1
  done
  quoted <"$1" >&2
  fail "'$2' has not come"
}

headline "Commits that a broker refuses"
java_run 60 "$work/payments" Payments create "$broker" "$payments" || { quoted <"$work/payments.err" >&2; fail "the topic could not be made"; }
quoted <"$work/payments"
start_kmend
printf '   two apps that commit after each payment; while payment %s is handled both are frozen for %s s,\n' "$slow" "$frozen"
printf '   and their sessions last 6 s:\n'
for group in direct mended; do
  server="$broker"
  [ "$group" = direct ] || server="$listen"
  java_start 60 "$work/pay-$group" PaymentsApp "$server" "payments-$group" "$slow" $((payments - 1))
  app_pids="$app_pids $!"
done
read -r direct_pid mended_pid <<<"$app_pids"
direct_java="$(java_behind "$direct_pid")" mended_java="$(java_behind "$mended_pid")"
for pair in "direct $direct_pid $direct_java" "mended $mended_pid $mended_java"; do
  read -r group pid program <<<"$pair"
  await "$work/pay-$group" "handles payment $slow\$" "$pid"
  kill -STOP "$program"
done
sleep "$frozen"
kill -CONT "$direct_java" "$mended_java"

headline "The app, directly on the broker ($broker)"
code=0
wait "$direct_pid" || code=$?
grep "^app:" "$work/pay-direct" | tail -n 3 | quoted
[ "$code" -ne 0 ] || fail "the app did not fail without kmend: there is nothing to mend here"
grep -q CommitFailedException "$work/pay-direct" || fail "the app failed, but not with CommitFailedException (exit code $code)"

headline "The same app, through kmend ($listen)"
code=0
wait "$mended_pid" || code=$?
grep "^app:" "$work/pay-mended" | tail -n 3 | quoted
[ "$code" -eq 0 ] || fail "the app did not go on through kmend (exit code $code)"
grep -q "all payments handled, $payments in all" "$work/pay-mended" || fail "the app did not handle each of the $payments payments once"

app_pids=''

java_run 60 "$work/committed" Payments committed "$broker" payments-direct payments-mended || fail "the groups could not be asked for"
read -r direct mended < <(awk '{ printf "%s ", $2 } END { print "" }' "$work/committed")
[ "$mended" = "$payments" ] || fail "committed is $mended through kmend, not $payments"
good "directly it dies, offset $direct is committed, and payment $direct, which was handled, will be handled again"
good "through kmend it handles each payment once, and offset $mended is committed"

headline "What kmend logged"
grep -E 'commit that a rebalance|kept commit|shown as a rebalance' "$work/kmend.log" | quoted || fail "kmend logged no commit"

counted '^kmend_(commits_total|commits_buffered|heartbeats_softened_total)'

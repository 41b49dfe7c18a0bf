#!/bin/sh
# Node Problem Detector's custom plugin: is this node's PCI topology what its class should be?
# Exit 0 it is, 1 it is not, 2 cannot tell. One line on stdout, at most 80 characters: what NPD shows.
#
# usage: peerbar-topology.sh REFERENCE [CAPTURE]
#   REFERENCE  capture of a good machine of this class
#   CAPTURE    capture to check; this machine's own by default
# PEERBAR names the tool where it is not on PATH.
set -u
peerbar=${PEERBAR:-peerbar}
reference=${1-}
capture=${2-}

say() {
  printf '%.80s\n' "$2"
  exit "$1"
}

[ -n "$reference" ] || say 2 "usage: peerbar-topology.sh REFERENCE [CAPTURE]"
[ -r "$reference" ] || say 2 "no reference capture: $reference"

work=$(mktemp -d) || say 2 "no place for a capture"
trap 'rm -rf "$work"' EXIT
if [ -z "$capture" ]; then
  capture=$work/now.json
  $peerbar capture -o "$capture" 2>"$work/error" || say 2 "no capture: $(head -n 1 "$work/error")"
fi

$peerbar audit "$capture" --reference "$reference" >"$work/report" 2>"$work/error"
case $? in
  0) say 0 "PCI topology is as in the reference" ;;
  1)
    # Below the line that says how many differ, each difference is indented by four blanks.
    first=$(sed -n 's/^    \([^ ].*\)/\1/p' "$work/report" | head -n 1)
    count=$(sed -n '/^    [^ ]/p' "$work/report" | grep -cv 'pairs\{0,1\} answers\{0,1\} otherwise')
    more=
    [ "$count" -le 1 ] || more=" (+$((count - 1)))"
    say 1 "$(printf '%.70s%s' "$first" "$more")"
    ;;
  3) say 2 "not everything is shown: capture it as root" ;;
  *) say 2 "$(head -n 1 "$work/error")" ;;
esac

//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/sysctl"
)

// script does by hand what a lab does, as far as ip can: two namespaces, a veth, addresses, neighbours, links up. It prints how many
// nanoseconds that took, and how many the way back. $1 is "rule" for a drop rule on top. It runs in a mount namespace with a /run of
// its own, so that the names it gives do not show on the machine.
const script = `set -e
mount --make-rprivate / && mount -t tmpfs tmpfs /run
t0=$(date +%s%N)
ip netns add client
ip netns add server
ip link add eth0 netns client type veth peer name eth0 netns server
ip -n client address add 10.99.0.1/24 dev eth0
ip -n server address add 10.99.0.2/24 dev eth0
ip -n client link set lo up
ip -n server link set lo up
ip -n client link set eth0 up
ip -n server link set eth0 up
ip -n client neighbour replace 10.99.0.2 lladdr "$(ip netns exec server cat /sys/class/net/eth0/address)" dev eth0
ip -n server neighbour replace 10.99.0.1 lladdr "$(ip netns exec client cat /sys/class/net/eth0/address)" dev eth0
if [ "$1" = rule ]; then
	ip netns exec server iptables -A INPUT -p tcp --dport 8080 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP
fi
t1=$(date +%s%N)
ip netns delete client
ip netns delete server
t2=$(date +%s%N)
echo $((t1 - t0)) $((t2 - t1))
`

// times are the ready and teardown times of one way to make a lab.
type times struct{ ready, gone []time.Duration }

func (t *times) add(ready, gone time.Duration) {
	t.ready, t.gone = append(t.ready, ready), append(t.gone, gone)
}

// labTimes builds labs, one after the other, the ways in turn so that the machine is the same for all of them.
func (p plan) labTimes() error {
	if p.labs == 0 {
		return nil
	}
	ways := []struct {
		name string
		once func() (ready, gone time.Duration, err error)
	}{
		{"lab.New, nothing pinned", func() (time.Duration, time.Duration, error) { return build(lab.Topology{}, false) }},
		{"lab.New, baseline pinned", func() (time.Duration, time.Duration, error) {
			return build(lab.Topology{Baseline: sysctl.Baseline}, false)
		}},
		{"the same and a drop rule", func() (time.Duration, time.Duration, error) {
			return build(lab.Topology{Baseline: sysctl.Baseline}, true)
		}},
		{"plain ip script, nothing pinned", func() (time.Duration, time.Duration, error) { return byHand("") }},
		{"the same and a drop rule", func() (time.Duration, time.Duration, error) { return byHand("rule") }},
	}
	got := make([]times, len(ways))
	for i := range p.labs + 1 {
		for w := range ways {
			ready, gone, err := ways[w].once()
			if err != nil {
				return fmt.Errorf("%s: %w", ways[w].name, err)
			}
			if i > 0 { // the first of each loads modules and warms caches
				got[w].add(ready, gone)
			}
		}
	}
	rows := [][]string{{"a lab, median of " + strconv.Itoa(p.labs), "ready", "slowest", "gone", "slowest"}}
	for w := range ways {
		rows = append(rows, []string{ways[w].name, ms(quantile(got[w].ready, 50)), ms(slices.Max(got[w].ready)), ms(quantile(got[w].gone, 50)),
			ms(slices.Max(got[w].gone))})
	}
	return table(rows...)
}

// build makes a lab through package lab and takes it down.
func build(t lab.Topology, rule bool) (ready, gone time.Duration, err error) {
	began := time.Now()
	l, err := lab.New(context.Background(), t)
	if err != nil {
		return 0, 0, err
	}
	if rule {
		if _, err := l.Server.Drop(context.Background(), lab.DropSYN(8080)); err != nil {
			return 0, 0, errors.Join(err, l.Close())
		}
	}
	ready = time.Since(began)
	began = time.Now()
	err = l.Close()
	return ready, time.Since(began), err
}

// byHand runs the script.
func byHand(rule string) (ready, gone time.Duration, err error) {
	cmd := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", rule)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %s", err, errs.String())
	}
	f := strings.Fields(string(out))
	if len(f) != 2 {
		return 0, 0, fmt.Errorf("the script printed %q, want two numbers", out)
	}
	a, aerr := strconv.ParseInt(f[0], 10, 64)
	b, berr := strconv.ParseInt(f[1], 10, 64)
	return time.Duration(a), time.Duration(b), errors.Join(aerr, berr)
}

// quantile is the value that q in 100 do not exceed.
func quantile(d []time.Duration, q int) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[min(len(s)*q/100, len(s)-1)]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func us(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }

package runner

import (
	"maps"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/sysctl"
)

// Why is what Causes found.
type Why struct {
	Changes []result.Change `json:"changes"`
	Causes  []result.Cause  `json:"causes"`
	// Explained is true where the causes, all taken together, make A's prediction B's: nothing is left that they do not explain.
	Explained bool `json:"explained"`
}

// Causes predicts an experiment in two environments and, where the predictions differ, looks for what makes the difference by asking
// the oracle again: A's environment with one fact or knob at a time as B has it. A thing that cannot be asked for alone (the
// experiment refuses it) is left out, and so the result may be unexplained.
func Causes(x *experiments.Experiment, plan experiments.Plan, a, b experiments.Env) (Why, error) {
	pa, err := Predict(x, plan, a)
	if err != nil {
		return Why{}, err
	}
	pb, err := Predict(x, plan, b)
	if err != nil {
		return Why{}, err
	}
	w := Why{Changes: result.Compare(pa, pb)}
	if len(w.Changes) == 0 {
		w.Explained = true
		return w, nil
	}
	all := copyEnv(a)
	for _, s := range switches(a, b) {
		one := copyEnv(a)
		s.turn(&one, b)
		p, err := Predict(x, plan, one)
		if err != nil {
			continue
		}
		moved := len(result.Compare(pa, p))
		if moved == 0 {
			continue
		}
		s.turn(&all, b)
		s.Changes, s.Whole = moved, len(result.Compare(p, pb)) == 0
		w.Causes = append(w.Causes, s.Cause)
	}
	p, err := Predict(x, plan, all)
	w.Explained = err == nil && len(result.Compare(p, pb)) == 0
	return w, nil
}

func copyEnv(e experiments.Env) experiments.Env {
	e.Sysctls = maps.Clone(e.Sysctls)
	return e
}

// a lever turns one thing of an environment to what it is in another.
type lever struct {
	result.Cause
	turn func(e *experiments.Env, to experiments.Env)
}

// switches are the levers for all that differs between a and b: knobs by name, then facts.
func switches(a, b experiments.Env) []lever {
	var out []lever
	for _, name := range differing(a, b) {
		c := result.Cause{Name: name, A: valueOf(a, name), B: valueOf(b, name)}
		if k, ok := sysctl.Lookup(name); ok && k.Since.First() != "" {
			c.Since = k.Since.String()
		}
		if name == "net.ipv4.tcp_syn_linear_timeouts" {
			c.Code = explain.LinearSYNTimeouts
		}
		out = append(out, lever{c, func(e *experiments.Env, to experiments.Env) { turnKnob(e, to, name) }})
	}
	return append(out, factLevers(a.Facts, b.Facts)...)
}

// factLevers leaves out the facts that say that a knob exists: they turn with their knob.
func factLevers(a, b kernel.Facts) []lever {
	turns := map[string]struct {
		code string
		turn func(f *kernel.Facts, to kernel.Facts)
	}{
		"HZ":                           {"", func(f *kernel.Facts, to kernel.Facts) { f.HZ = to.HZ }},
		"timer wheel":                  {explain.TimerWheel, func(f *kernel.Facts, to kernel.Facts) { f.Wheel = to.Wheel }},
		"initial RTO":                  {"", func(f *kernel.Facts, to kernel.Facts) { f.InitialRTO = to.InitialRTO }},
		"SYN expiry":                   {"", func(f *kernel.Facts, to kernel.Facts) { f.SYNExpiry = to.SYNExpiry }},
		"TCP_USER_TIMEOUT in SYN-SENT": {"", func(f *kernel.Facts, to kernel.Facts) { f.UserTimeout = to.UserTimeout }},
	}
	values := map[string]string{}
	for _, row := range b.Table() {
		values[row[0]] = row[1]
	}
	var out []lever
	for _, row := range a.Table() {
		t, ok := turns[row[0]]
		if !ok || values[row[0]] == row[1] {
			continue
		}
		c := result.Cause{Name: row[0], A: row[1], B: values[row[0]], Code: t.code}
		out = append(out, lever{c, func(e *experiments.Env, to experiments.Env) { t.turn(&e.Facts, to.Facts) }})
	}
	if a.Version != b.Version { // rules that the oracle takes from the version itself
		c := result.Cause{Name: "kernel version", A: a.Version.String(), B: b.Version.String()}
		out = append(out, lever{c, func(e *experiments.Env, to experiments.Env) { e.Facts.Version = to.Facts.Version }})
	}
	return out
}

// differing are the names of the knobs that are not the same on all hosts, sorted.
func differing(a, b experiments.Env) []string {
	names := map[string]bool{}
	for _, pair := range [][2]experiments.Env{{a, b}, {b, a}} {
		for key, v := range pair[0].Sysctls {
			if o, ok := pair[1].Sysctls[key]; !ok || o != v {
				_, name, _ := strings.Cut(key, ".")
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// valueOf is a knob's value on both hosts: one where they agree.
func valueOf(e experiments.Env, name string) string {
	client, server := e.Sysctls["client."+name], e.Sysctls["server."+name]
	if client == server {
		return client
	}
	return "client " + client + ", server " + server
}

func turnKnob(e *experiments.Env, to experiments.Env, name string) {
	for _, host := range []string{"client.", "server."} {
		if v, ok := to.Sysctls[host+name]; ok {
			e.Sysctls[host+name] = v
		} else {
			delete(e.Sysctls, host+name)
		}
	}
	switch name {
	case "net.ipv4.tcp_syn_linear_timeouts":
		e.Facts.SYNLinear = to.Facts.SYNLinear
	case "net.ipv4.tcp_rto_max_ms":
		e.Facts.RTOMax = to.Facts.RTOMax
	}
}

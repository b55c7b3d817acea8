package runner

import (
	"slices"
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
)

var v618 = kernel.Version{Major: 6, Minor: 18}

// modelled is an experiment with a profile, and what --set gives, on a kernel that is not running.
func modelled(t *testing.T, name string, profile experiments.Profile, version kernel.Version, set ...string) (*experiments.Experiment, experiments.Plan, kernel.Facts, experiments.Env) {
	t.Helper()
	x, err := experiments.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := x.Plan(profile, nil, set)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := kernel.Model(version, 250)
	if err != nil {
		t.Fatal(err)
	}
	env, err := Env(x, plan, facts)
	if err != nil {
		t.Fatal(err)
	}
	return x, plan, facts, env
}

// toldOf reports whether a prediction of exp1 for a kernel, with what --set gives, has a note with a code.
func toldOf(t *testing.T, version kernel.Version, code string, set ...string) bool {
	t.Helper()
	x, plan, _, e := modelled(t, "exp1-syn-loss", experiments.Textbook, version, set...)
	p, err := Predict(x, plan, e)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(p.Notes, func(n result.Note) bool { return n.Code == code })
}

// TestUnread sets a knob that the prediction stands on, and one that it does not ask for. It catches a --set that makes a prediction wrong
// without a word, and a warning of what is predicted.
func TestUnread(t *testing.T) {
	for set, want := range map[string]bool{
		"client.net.ipv4.tcp_syn_retries=2": false,
		"server.net.ipv4.tcp_syncookies=2":  true,
		"client.net.ipv4.tcp_sack=0":        true,
	} {
		if got := toldOf(t, kernel.Version{Major: 6, Minor: 12}, explain.NotPredicted, set); got != want {
			t.Errorf("--set %s: told that it is not predicted: %v, want %v", set, got, want)
		}
	}
}

// TestNewer catches a kernel that nobody has read and that is predicted without a word, and a warning of one that was read.
func TestNewer(t *testing.T) {
	newest := kernel.Newest
	for version, want := range map[kernel.Version]bool{
		newest: false, {Major: newest.Major, Minor: newest.Minor, Patch: 44}: false,
		{Major: newest.Major, Minor: newest.Minor + 1}: true, {Major: newest.Major + 1}: true,
	} {
		if got := toldOf(t, version, explain.KernelUnread); got != want {
			t.Errorf("Linux %v: told that it is newer than the rules: %v, want %v", version, got, want)
		}
	}
}

package runner

import (
	"slices"
	"testing"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
)

// TestUnread sets a knob that the prediction stands on, and one that it does not ask for. It catches a --set that makes a prediction wrong
// without a word, and a warning of what is predicted.
func TestUnread(t *testing.T) {
	x, err := experiments.Find("exp1-syn-loss")
	if err != nil {
		t.Fatal(err)
	}
	for set, want := range map[string]bool{
		"client.net.ipv4.tcp_syn_retries=2": false,
		"server.net.ipv4.tcp_syncookies=2":  true,
		"client.net.ipv4.tcp_sack=0":        true,
	} {
		plan, err := x.Plan(experiments.Textbook, nil, []string{set})
		if err != nil {
			t.Fatal(err)
		}
		facts, err := kernel.Model(kernel.Version{Major: 6, Minor: 12}, 250)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Env(x, plan, facts)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Predict(x, plan, e)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(p.Notes, func(n result.Note) bool { return n.Code == explain.NotPredicted }); got != want {
			t.Errorf("--set %s: told that it is not predicted: %v, want %v", set, got, want)
		}
	}
}

// TestNewer catches a kernel that nobody has read and that is predicted without a word, and a warning of one that was read.
func TestNewer(t *testing.T) {
	x, err := experiments.Find("exp1-syn-loss")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := x.Plan(experiments.Textbook, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	newest := kernel.Newest
	for version, want := range map[kernel.Version]bool{
		newest: false, {Major: newest.Major, Minor: newest.Minor, Patch: 44}: false,
		{Major: newest.Major, Minor: newest.Minor + 1}: true, {Major: newest.Major + 1}: true,
	} {
		facts, err := kernel.Model(version, 250)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Env(x, plan, facts)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Predict(x, plan, e)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.ContainsFunc(p.Notes, func(n result.Note) bool { return n.Code == explain.KernelUnread }); got != want {
			t.Errorf("Linux %v: told that it is newer than the rules: %v, want %v", version, got, want)
		}
	}
}

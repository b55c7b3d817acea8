package experiments

import (
	"strings"
	"testing"
	"time"
)

// TestTakes catches a kind of parameter whose values are not told, and a time in nanoseconds.
func TestTakes(t *testing.T) {
	for _, tt := range []struct {
		q    Param
		want string
	}{
		{Param{Sysctl: "net.ipv4.tcp_syn_retries"}, "1 to 127"},
		{Param{Min: 1, Max: 9}, "1 to 9"},
		{Param{Kind: Choice, Choices: []string{"on", "off"}}, "on or off"},
		{Param{Kind: Time, Min: int64(20 * time.Millisecond), Max: int64(2 * time.Second)}, "20ms to 2s"},
		{Param{Kind: Time, Min: 0, Max: int64(2 * time.Hour)}, "0s to 2h"},
		{Param{Kind: Time, Min: int64(90 * time.Second), Max: int64(10 * time.Minute)}, "1m30s to 10m"},
		{Param{Kind: List, Min: 1, Max: 30, Choices: []string{"last"}}, "1 to 30 with commas between, or last"},
	} {
		if got := tt.q.Takes(); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.q, got, tt.want)
		}
	}
}

// TestNames catches an experiment that the word for the whole catalogue would hide.
func TestNames(t *testing.T) {
	for _, x := range All() {
		if strings.HasPrefix(x.Name, "all") {
			t.Errorf("%s: all stands for the whole catalogue", x.Name)
		}
	}
}

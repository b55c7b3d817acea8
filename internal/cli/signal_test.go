package cli

import (
	"context"
	"errors"
	"syscall"
	"testing"
)

// Where another process does the work, a Ctrl-C reaches both and is passed on besides. Catches one Ctrl-C that counts twice (nothing would be
// undone in order), a kill of the parent alone that does not count, and a second signal that is not heard.
func TestInterrupts(t *testing.T) {
	const term, ctrlC = syscall.SIGTERM, syscall.SIGINT
	type got struct {
		forwarded bool
		sig       syscall.Signal
	}
	for _, tt := range []struct {
		name  string
		got   []got
		cause syscall.Signal // 0: not cancelled
		exit  int            // 0: it goes on
	}{
		{"nothing", nil, 0, 0},
		{"Ctrl-C, passed on later", []got{{false, ctrlC}, {true, ctrlC}}, ctrlC, 0},
		{"Ctrl-C, passed on first", []got{{true, ctrlC}, {false, ctrlC}}, ctrlC, 0},
		{"a kill of the parent", []got{{true, term}}, term, 0},
		{"a kill of the child", []got{{false, term}}, term, 0},
		{"Ctrl-C twice", []got{{false, ctrlC}, {true, ctrlC}, {false, ctrlC}, {true, ctrlC}}, ctrlC, 130},
		{"Ctrl-C twice, not passed on", []got{{false, ctrlC}, {false, ctrlC}}, ctrlC, 130},
		{"a kill of the parent, then Ctrl-C", []got{{true, term}, {true, ctrlC}, {false, ctrlC}}, term, 130},
	} {
		ctx, cancel := context.WithCancelCause(context.Background())
		exit := 0
		in := newInterrupts(cancel, func(code int) {
			if exit == 0 {
				exit = code
			}
		})
		for _, g := range tt.got {
			way := in.own
			if g.forwarded {
				way = in.forwarded
			}
			in.got(way, g.sig)
		}
		var e *signalError
		var cause syscall.Signal
		if errors.As(context.Cause(ctx), &e) {
			cause = e.sig
		}
		if cause != tt.cause || exit != tt.exit {
			t.Errorf("%s: got cause %v and exit %d, want %v and %d", tt.name, cause, exit, tt.cause, tt.exit)
		}
		cancel(nil)
	}
}

// Catches AppArmor's refusal being told without its name, or told where it was not.
func TestConfined(t *testing.T) {
	for label, want := range map[string]string{
		"": "", "unconfined": "",
		"unprivileged_userns (enforce)": "AppArmor has put this process into its profile unprivileged_userns, which takes the rights of a user namespace's root away (Ubuntu 23.10 and later)",
		"docker-default (enforce)":      `a security module has this process under "docker-default (enforce)"`,
	} {
		if got := confined(label); got != want {
			t.Errorf("%q: got %q, want %q", label, got, want)
		}
	}
}

package doctest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/cli"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
)

// The test binary is the program too, and must hold its main thread where the program does.
func init() { netns.PinMain() }

// TestMain is the program when it is started under its name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "tcplab" {
		os.Exit(cli.Main(os.Args[1:]))
	}
	os.Exit(labtest.Leaks(m))
}

// TestCommands catches a document that shows a command or a flag that does not exist, one that fails, or output that the program no
// longer prints.
func TestCommands(t *testing.T) {
	for _, d := range documents(t) {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			report(t, commands(t, d))
		})
	}
}

// TestMentions catches a command, flag, make target or path in running text that does not exist.
func TestMentions(t *testing.T) {
	for _, d := range documents(t) {
		report(t, spans(t, d))
	}
}

// TestLinks catches a link to a file or heading that is not there.
func TestLinks(t *testing.T) { report(t, links(documents(t))) }

// TestCodes catches a code that tcplab explain does not know.
func TestCodes(t *testing.T) {
	for _, d := range documents(t) {
		report(t, codes(d))
	}
}

func report(t *testing.T, bad []string) {
	t.Helper()
	for _, b := range bad {
		t.Error(b)
	}
}

// TestChecks is the negative control of the tests above: each document has one mistake, and the check must name it. The good ones at the
// end catch a check that complains about everything.
func TestChecks(t *testing.T) {
	console := func(info, text string) string { return "```console" + info + "\n" + text + "\n```\n" }
	for _, tt := range []struct{ name, text, want string }{
		{"unknown command", console("", "$ tcplab rum exp1"), `unknown command "rum"`},
		{"unknown flag", console("", "$ sudo tcplab run exp1 --syn-retrys=2"), "unknown flag: --syn-retrys"},
		{"unknown experiment", console("", "$ sudo tcplab run exp999"), "got exit code 2, want 0"},
		{"value out of range", console("", "$ sudo tcplab run exp1 --syn-retries=0"), "got exit code 2, want 0"},
		{"missing argument", console("", "$ tcplab report"), "requires at least 1 arg"},
		{"unknown knob", console("", "$ tcplab explain tcp_nosuch"), "got exit code 2, want 0"},
		{"success where failure is shown", console(" exit=2", "$ tcplab list"), "got exit code 0, want 2"},
		{"other output", console(" golden", "$ tcplab list\nexp1-syn-loss  nothing is lost"), "shows other output"},
		{"output missing", console(" golden", "$ tcplab list"), "shows other output"},
		{"unknown target in a block", console("", "$ make dmeo"), `got the target "dmeo"`},
		{"unknown program", console("", "$ tclpab list"), `got the program "tclpab"`},
		{"empty prompt", console("", "$ "), "got no command"},
		{"command in text", "Run `tcplab rum exp1`.", `unknown command "rum"`},
		{"flag in text", "Run `sudo tcplab run NAME --dry-runs`.", "has no flag --dry-runs"},
		{"target in text", "Run `make dmeo`.", `got the target "dmeo"`},
		{"path in text", "See `internal/nets`.", "no such file or folder"},
		{"span over two lines", "Run `tcplab\nrum`.", `unknown command "rum"`},
		{"broken link", "See [it](nosuch.md).", "link to nosuch.md: no such file"},
		{"broken anchor", "# One\n\nSee [it](#two).", "no such heading"},
		{"second of a name", "# One\n\n# One\n\nSee [it](#one-2).", "no such heading"},
		{"unknown code in text", "See TL9999.", "TL9999: no such code"},

		{"good commands", console("", "$ sudo tcplab run exp1 --syn-retries=2 > out # twice\n$ make demo\n$ tcplab run --help\n$ tcplab report DIR | less"), ""},
		{"good failure", console(" exit=2", "$ tcplab run exp1 --syn-retries=0"), ""},
		{"good text", "# A b: c\n\n`tcplab run EXP --keep`, `make test`, `internal/netns`, `tcplab COMMAND --help`, [x](#a-b-c), [y](README.md), [z](https://x.org), TL1203", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := Parse("x.md", tt.text)
			bad := slices.Concat(commands(t, d), spans(t, d), links([]Doc{d}), codes(d))
			if tt.want == "" && len(bad) > 0 {
				t.Errorf("got %q, want no complaint", bad)
			}
			if tt.want != "" && (len(bad) != 1 || !strings.Contains(bad[0], tt.want)) {
				t.Errorf("got %q, want one complaint with %q", bad, tt.want)
			}
		})
	}
}

// TestWords catches a command line that is cut in the wrong place.
func TestWords(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"tcplab run exp1", []string{"tcplab", "run", "exp1"}},
		{"tcplab  explain 'a b' c\"d e\"f ''", []string{"tcplab", "explain", "a b", "cd ef", ""}},
		{"tcplab list | head", []string{"tcplab", "list"}},
		{"tcplab list > f", []string{"tcplab", "list"}},
		{"tcplab list # all", []string{"tcplab", "list"}},
		{"tcplab list;ls", []string{"tcplab", "list"}},
		{"a#b '>' c", []string{"a#b", ">", "c"}},
		{"", nil},
	} {
		if diff := cmp.Diff(tt.want, Words(tt.line)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.line, diff)
		}
	}
}

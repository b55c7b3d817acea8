package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/analyse"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/pcapout"
)

type analyseFlags struct {
	stream         int
	follow, filter string
	lang           string
	all, json      bool
	serverPort     uint16
}

func (a *app) analyseCmd() *cobra.Command {
	var f analyseFlags
	cmd := &cobra.Command{
		Use:   "analyse FILE",
		Short: "say what happened in any capture, which connection died, and why",
		Long: `Analyse reads a capture from anywhere: pcapng or pcap, plain or gzip, from a file or - for standard input. It takes it apart into
TCP connections, names every packet by its part (a repeat by the retransmission timer, a tail loss probe, the third duplicate ACK, an answer
to a keepalive probe), and says which connections died, which were slow, and which experiment shows the same.

--stream and --follow draw the ladder of one connection. The numbers are those of Wireshark's tcp.stream. --filter and --follow know
"host ADDRESS", "net PREFIX", "port NUMBER" and ADDRESS:PORT, joined by "and", "or" and "not".

The memory that it needs does not grow with the file. It needs no privilege.`,
		Example: `  tcplab analyse work.pcapng
  tcplab analyse work.pcapng --stream 3
  tcplab analyse work.pcapng --follow "host 10.0.0.5 and port 443"
  tcplab analyse - --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			one := cmd.Flags().Changed("stream")
			switch {
			case one && f.stream < 0:
				return usage(explain.ValueOutOfRange, fmt.Errorf("--stream=%d: want the number of a connection, from 0", f.stream))
			case one && f.follow != "":
				return usage(explain.ValueOutOfRange, errors.New("--stream and --follow both choose the connection to draw: choose one"))
			case !one:
				f.stream = -1
			}
			return a.analyse(cmd.Context(), &f, args[0])
		},
	}
	fl := cmd.Flags()
	fl.IntVar(&f.stream, "stream", 0, "draw the ladder of the connection with this number")
	fl.StringVar(&f.follow, "follow", "", "draw the ladder of the first connection that this describes, such as \"host 10.0.0.5 and port 443\"")
	fl.StringVar(&f.filter, "filter", "", "list only connections that this describes")
	fl.BoolVar(&f.all, "all", false, "list every connection, and draw every packet of a ladder")
	fl.Uint16Var(&f.serverPort, "server-port", 0, "port of the servers: tells client from server where the SYN is not in the capture")
	fl.StringVar(&f.lang, "lang", "en", "language of what was found: en or zh")
	_ = cmd.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions([]string{"en", "zh"}, cobra.ShellCompDirectiveNoFileComp))
	fl.BoolVar(&f.json, "json", false, "print one JSON document: every connection, in the order in which they end")
	return cmd
}

// analyse reads a capture and prints what was found.
func (a *app) analyse(ctx context.Context, f *analyseFlags, name string) error {
	in, err := openCapture(name)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // read only
	s, err := a.newSurvey(f, name)
	if err != nil {
		return err
	}
	r, err := pcapout.NewReader(in)
	if err != nil {
		return usage(explain.InvalidFile, fmt.Errorf("%s: %w", name, err))
	}
	err = s.read(ctx, r)
	var broken *pcapout.BrokenError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = nil // a capture that was stopped the hard way; the output says where
	case errors.As(err, &broken):
		err = usage(explain.InvalidFile, fmt.Errorf("%s: %w", name, err))
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := s.missing(); err != nil {
		return err
	}
	if err := s.print(); err != nil {
		return err
	}
	if err != nil && f.json {
		a.told = true // the document is out: a second one would follow it
	}
	return err
}

// openCapture opens a file, or standard input for "-".
func openCapture(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usage(explain.InvalidFile, err)
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, errors.Join(usage(explain.InvalidFile, fmt.Errorf("%s is a folder: want a capture, such as %s/client.pcapng", name, name)), f.Close())
	}
	return f, nil
}

// survey gathers what is said of a capture while it is read.
type survey struct {
	a      *app
	lang   page.Lang
	f      *analyseFlags
	doc    result.Analysis
	filter pick
	follow pick
	stream *analyse.Stream
	origin time.Time // the first packet of the capture

	chosen  *analyse.Connection // the one whose ladder is drawn
	also    []int               // others that --follow describes
	alsoAll int
	newest  int // number of the newest connection that --follow was asked about
	steps   steps
	rows    report.Rows
	out     *connectionWriter
	err     error
}

func (a *app) newSurvey(f *analyseFlags, name string) (*survey, error) {
	s := &survey{a: a, f: f, newest: -1}
	s.doc = result.Analysis{Schema: result.AnalysisSchema, Fates: map[string]int{}, File: result.CaptureFile{Name: name}}
	var err error
	if s.lang, err = language(f.lang); err != nil {
		return nil, err
	}
	for _, x := range []struct {
		flag, text string
		to         *pick
	}{{"filter", f.filter, &s.filter}, {"follow", f.follow, &s.follow}} {
		if x.text == "" {
			continue
		}
		if *x.to, err = parsePick(x.text); err != nil {
			return nil, usage(explain.ValueOutOfRange, fmt.Errorf("--%s: %w", x.flag, err))
		}
	}
	s.steps.all, s.rows.All = f.all, f.all
	o := analyse.StreamOptions{Options: analyse.Options{ServerPort: f.serverPort}, Copies: true, Ended: s.ended}
	if f.stream >= 0 || s.follow != nil {
		o.Packet, o.Renamed, o.Copy = s.packet, s.renamed, s.copied
	}
	s.stream = analyse.NewStream(o)
	return s, nil
}

// read reads the capture to its end, or to where it is broken.
func (s *survey) read(ctx context.Context, r *pcapout.Reader) error {
	if s.f.json {
		s.out = newConnectionWriter(s.a.out)
	}
	most := 0
	c, err := pcapout.Segments(ctx, r, func(start time.Time, b []pcapout.Decoded) error {
		s.origin = start
		for i := range b {
			d := &b[i]
			s.stream.AddAt(int(d.Frame-1), &d.Segment, d.Point)
		}
		most = max(most, s.stream.Open())
		return s.err
	})
	s.stream.Close()
	s.describe(r.Info(), &c, most, err)
	return errors.Join(err, s.err)
}

// missing complains where the connection that was asked for is not there.
func (s *survey) missing() error {
	if s.chosen != nil || s.f.stream < 0 && s.follow == nil {
		return nil
	}
	if s.follow != nil {
		return usage(explain.ValueOutOfRange, fmt.Errorf("--follow=%q describes none of the %d connections", s.f.follow, s.doc.File.Connections))
	}
	return usage(explain.ValueOutOfRange, fmt.Errorf("--stream=%d: the capture has %d connections, from 0", s.f.stream, s.doc.File.Connections))
}

// print writes text, or the rest of the JSON document.
func (s *survey) print() error {
	if s.chosen != nil {
		s.steps.done(&s.doc)
	}
	if s.out != nil {
		return s.out.finish(&s.doc)
	}
	style := s.a.style(s.a.out)
	if s.chosen != nil {
		return report.ConnectionText(s.a.out, &s.doc, s.also, s.alsoAll, style)
	}
	return report.AnalysisText(s.a.out, &s.doc, &s.rows, s.titles(), style)
}

// titles are the headings of what died, what was slow and what is worth knowing, in the language that was asked for.
func (s *survey) titles() [3]string {
	t := [3]string{"What died, and why", "What was slow, and why", "Worth knowing"}
	for i, x := range t {
		if s.lang == page.Chinese {
			t[i], _ = page.Translate(x)
		}
	}
	return t
}

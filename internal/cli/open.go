package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/report"
)

// openFlags are the flags of open.
type openFlags struct {
	wireshark bool
	print     bool
	host      string
}

func (a *app) openCmd() *cobra.Command {
	f := &openFlags{}
	cmd := &cobra.Command{
		Use:   "open [RUN]",
		Short: "open a stored run in the browser, or its captures in Wireshark",
		Long: `Open shows report.html of a stored run (a folder; by default tcplab-runs/latest) in your browser. With --wireshark it opens the captures
instead, with the names of the hosts and a column for the comment on each packet, in English and in Chinese; --host chooses one end.

Where no window can be opened, for root (a browser and Wireshark should not run as root) or without a display, the command that does it is
printed instead, ready to be pasted.`,
		Example: `  tcplab open
  tcplab open tcplab-runs/latest --wireshark --host=server
  tcplab open --wireshark --print`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			run := filepath.Join("tcplab-runs", "latest")
			if len(args) > 0 {
				run = args[0]
			}
			return a.open(f, run)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.wireshark, "wireshark", false, "open the captures in Wireshark, not the report")
	fl.BoolVar(&f.print, "print", false, "print the command and open nothing")
	fl.StringVar(&f.host, "host", "both", "with --wireshark: whose capture: client, server or both")
	_ = cmd.RegisterFlagCompletionFunc("host", cobra.FixedCompletions([]string{"client", "server", "both"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) open(f *openFlags, run string) error {
	hosts := map[string][]string{"client": {"client"}, "server": {"server"}, "both": {"client", "server"}}[f.host]
	if hosts == nil {
		return usage(explain.ValueOutOfRange, fmt.Errorf("--host=%s: want client, server or both", f.host))
	}
	names := []string{pageFile}
	if f.wireshark {
		names = names[:0]
		for _, h := range hosts {
			names = append(names, h+".pcapng")
		}
	}
	var commands [][]string
	for _, name := range names {
		file, err := fileOf(run, name)
		if err != nil {
			return err
		}
		commands = append(commands, viewer(f.wireshark, file))
	}
	why := noWindow(f.print, commands[0][0])
	for _, c := range commands {
		if why != "" {
			if _, err := fmt.Fprintln(a.out, shellLine(c)); err != nil {
				return err
			}
			continue
		}
		if err := launch(c); err != nil {
			return err
		}
	}
	if why != "" && !f.print {
		fmt.Fprintf(a.err, "nothing was opened: %s. What was printed does it.\n", why)
	}
	return nil
}

// fileOf is a file of a run as an absolute path, so that no program takes it for an option.
func fileOf(run, name string) (string, error) {
	if st, err := os.Stat(run); err == nil && !st.IsDir() {
		run = filepath.Dir(run) // result.json names its run, as for report
	}
	file, err := filepath.Abs(filepath.Join(run, name))
	if err != nil {
		return "", usage(explain.InvalidFile, err)
	}
	st, err := os.Stat(file)
	switch {
	case err != nil && name == pageFile:
		return "", usage(explain.InvalidFile, fmt.Errorf("%w (want the folder of a run; `tcplab report --html=FILE RUN` draws its page anew)", err))
	case err != nil:
		return "", usage(explain.InvalidFile, fmt.Errorf("%w (want the folder of a run)", err))
	case !st.Mode().IsRegular():
		return "", usage(explain.InvalidFile, fmt.Errorf("%s: want a file", file))
	case report.Clean(file) != file:
		return "", usage(explain.InvalidFile, fmt.Errorf("%q: a name with invisible characters is not handed to other programs", file))
	}
	return file, nil
}

// columns are Wireshark's usual columns and two for the comments on a packet: the first is in English, the second in Chinese.
const columns = `gui.column.format:"No.","%m","Time","%t","Source","%s","Destination","%d","Protocol","%p","Length","%L","Info","%i",` +
	`"Comment","%Cus:frame.comment:1:R","注释","%Cus:frame.comment:2:R"`

// viewer is the command that shows a file.
func viewer(wireshark bool, file string) []string {
	switch {
	case wireshark:
		return []string{"wireshark", "-N", "n", "-o", columns, "-r", file}
	case runtime.GOOS == "darwin":
		return []string{"open", file}
	}
	return []string{"xdg-open", file}
}

// noWindow says why a program with a window cannot be started here; empty: it can.
func noWindow(asked bool, program string) string {
	switch {
	case asked:
		return "asked for"
	case os.Geteuid() == 0:
		return "this is root, and what opens files should not be"
	case runtime.GOOS == "linux" && os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return "there is no display here"
	}
	if _, err := exec.LookPath(program); err != nil {
		return program + " was not found"
	}
	return ""
}

// settleIn is how long a program has to complain before it counts as opened. It goes on without us.
const settleIn = 2 * time.Second

// launch starts a program in a session of its own, so that the end of this terminal does not end it. There is no shell between.
func launch(command []string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", command[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	wait := time.NewTimer(settleIn)
	defer wait.Stop()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return fmt.Errorf("%s: %w; by hand: %s", command[0], err, shellLine(command))
		}
		return err
	case <-wait.C:
		return nil
	}
}

// shellLine is a command as a POSIX shell reads it.
func shellLine(command []string) string {
	var out []string
	for _, arg := range command {
		out = append(out, report.Quote(arg))
	}
	return strings.Join(out, " ")
}

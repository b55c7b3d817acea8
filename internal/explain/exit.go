package explain

import "slices"

// Exit is one exit code of tcplab.
type Exit struct {
	Code    int
	Name    string // a word or two
	Meaning string
}

// Exit codes. ExitInterrupted and ExitTerminated are 128 plus the number of the signal, as a shell reports it.
const (
	ExitPass         = 0
	ExitFail         = 1
	ExitUsage        = 2
	ExitUnable       = 3
	ExitSkipped      = 4
	ExitInconclusive = 5
	ExitInternal     = 6
	ExitInterrupted  = 130
	ExitTerminated   = 143
)

// Exits returns the table of exit codes, ascending. The caller owns the slice.
func Exits() []Exit {
	return []Exit{
		{ExitPass, "passed", "every check passed"},
		{ExitFail, "failed", "an expectation was contradicted"},
		{ExitUsage, "usage", "the command line or a file is wrong; nothing was touched"},
		{ExitUnable, "unable", "this machine cannot run it: see `tcplab doctor`"},
		{ExitSkipped, "skipped", "everything was skipped"},
		{ExitInconclusive, "inconclusive", "the host stalled or the capture lost packets: neither a pass nor a contradiction"},
		{ExitInternal, "internal", "tcplab itself failed, left something behind, or was given parts that are not the whole"},
		{ExitInterrupted, "interrupted", "stopped by SIGINT, after everything was taken down"},
		{ExitTerminated, "terminated", "stopped by SIGTERM, after everything was taken down"},
	}
}

// precedence orders the codes of several runs, gravest first. A usage error (2) never meets others: it ends the command before the
// first run. A signal goes before all, because what was not run has no verdict.
var precedence = []int{ExitInterrupted, ExitTerminated, ExitUsage, ExitFail, ExitInternal, ExitInconclusive, ExitUnable, ExitSkipped, ExitPass}

// Worst returns the exit code for several runs: 1 > 6 > 5 > 3 > 4 > 0. No codes give 0, and a code that is not in the table counts as
// ExitInternal.
func Worst(codes ...int) int {
	worst := len(precedence) - 1
	for _, c := range codes {
		i := slices.Index(precedence, c)
		if i < 0 {
			i = slices.Index(precedence, ExitInternal)
		}
		worst = min(worst, i)
	}
	return precedence[worst]
}

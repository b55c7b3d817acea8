package main

import (
	"fmt"
	"strings"

	"github.com/tcplab/tcplab/sysctl"
)

// sysctlPage is the catalogue of knobs, in the manner of a manual page.
func sysctlPage() string {
	var b strings.Builder
	b.WriteString("# Sysctls\n\nThe knobs of Linux TCP that tcplab knows. `tcplab explain tcp_retries2` prints one of them, and `tcplab explain tcp_retries2=8` says what a " +
		"value means in seconds on this kernel; `--kernel=5.15` on another. *Since* is the first release that has the knob, *per namespace* the first in which " +
		"a network namespace has its own: a lab can set it from there on. In brackets: the newest source tree without it that was read. Stable and distribution " +
		"kernels carry backports, so tcplab looks whether the file is there.\n\n| knob | what it is | unit | default |\n|---|---|---|---|\n")
	knobs := sysctl.All()
	for _, k := range knobs {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", k.Short(), anchor(k.Name), k.Summary, k.Unit, lastDefault(k))
	}
	for _, k := range knobs {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n%s\n\n| | |\n|---|---|\n| unit | %s |\n| values | %s |\n", k.Name, sentence(k.Summary), k.Meaning, k.Unit, k.Range())
		for _, d := range k.Defaults {
			since := "default"
			if d.Since != "" {
				since = "default since " + d.Since
			}
			fmt.Fprintf(&b, "| %s | %s |\n", since, d.Value+d.Computed)
		}
		fmt.Fprintf(&b, "| since | %s |\n", k.Since)
		if s := k.PerNamespace.String(); s != "" {
			fmt.Fprintf(&b, "| per namespace | %s |\n", s)
		}
		fmt.Fprintf(&b, "| read | %v |\n| source | %s |\n", k.ReadAt, k.Source)
	}
	return b.String()
}

func lastDefault(k sysctl.Knob) string {
	if len(k.Defaults) == 0 {
		return "-"
	}
	d := k.Defaults[len(k.Defaults)-1]
	return d.Value + d.Computed
}

// Package files holds experiments of the catalogue as they are written without Go: `tcplab new --from exp1` prints one to begin with. A test
// holds their predictions to those of the catalogue's own.
//
// It is not for running: package spec reads them.
package files

import "embed"

// FS has a file for each, by the name of the experiment: "exp1-syn-loss.yaml".
//
//go:embed *.yaml
var FS embed.FS

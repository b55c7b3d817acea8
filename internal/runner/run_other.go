//go:build !linux

package runner

import (
	"context"
	"io"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
)

// Run returns an error that wraps ErrUnable: a lab needs Linux.
func Run(context.Context, Options) (*result.Result, error) { return nil, unable{lab.ErrPlatform} }

// Doctor looks at a machine that cannot hold a lab.
func Doctor(context.Context) []Finding {
	return []Finding{{Name: "Linux", State: Missing, Value: lab.ErrPlatform.Error(), Cure: "use a Linux machine, a virtual one will do; predict, explain and report work here"}}
}

// Tracepoints are of Linux.
type Tracepoints struct{}

// KernelTypes returns lab.ErrPlatform.
func KernelTypes(io.ReaderAt) ([]byte, error) { return nil, lab.ErrPlatform }

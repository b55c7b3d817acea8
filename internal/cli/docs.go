package cli

import (
	"os"

	"github.com/spf13/cobra"
)

// Root is the command tree as Main runs it, with the commands that cobra adds. The reference page is written from it, and the commands
// in the documents are parsed with it.
func Root() *cobra.Command {
	a := &app{out: os.Stdout, err: os.Stderr}
	root := a.root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

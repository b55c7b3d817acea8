package cli

import (
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/guard"
	"github.com/tcplab/tcplab/internal/vm"
)

func (a *app) kernelsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "list, fetch and remove the kernels that run --kernel boots (no root)",
		Long: `Kernels are found in /boot and in a cache, $XDG_CACHE_HOME/tcplab/kernels, where they lie unpacked, each with the guest that it
booted last (130 MB): the next run on it goes on from there. Debian's archive is asked through apt, as you, with apt's own checks; nothing is
installed and nothing else is downloaded.

One that was named by its path (run --kernel=./bzImage) is unpacked beside them, in images, by what it is made of. No version means it, only its path; of
those, the eight that were used last stay.

Under sudo the cache is root's; the kernels in that of the user who called it are found too, and nothing is changed there.`,
		Example: `  tcplab kernels list
  tcplab kernels fetch 6.12
  tcplab run exp1 --kernel=6.12`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.kernelsListCmd(), &cobra.Command{
		Use:   "fetch VERSION...",
		Short: "get the newest Debian kernel of a version: 6.1, 6.12",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, versions []string) error {
			a.guard = guard.Start() // killed in its middle, it leaves nothing
			defer a.guard.Bye()
			for _, v := range versions {
				fmt.Fprintf(a.err, "fetching Linux %s through apt\n", v)
				k, err := vm.Fetch(cmd.Context(), v, a.guard)
				if ierr := interrupted(cmd.Context()); ierr != nil {
					return ierr
				}
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintln(a.out, k.Release); err != nil {
					return err
				}
			}
			return nil
		},
	}, &cobra.Command{
		Use:   "rm RELEASE|ID...",
		Short: "remove kernels from the cache; one that was named by its path by the ID that list shows",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, releases []string) error {
			a.guard = guard.Start()
			defer a.guard.Bye()
			var errs []error
			for _, r := range releases {
				_, err := vm.Remove(r, a.guard)
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	})
	return cmd
}

func (a *app) kernelsListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the kernels that are here, and those that apt offers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			here, err := vm.Kernels()
			if err != nil {
				return err
			}
			images, err := vm.Images()
			if err != nil {
				return err
			}
			offered, offerErr := vm.Offered(cmd.Context())
			offered = slices.DeleteFunc(offered, func(release string) bool {
				return slices.ContainsFunc(here, func(k vm.Kernel) bool { return k.Release == release })
			})
			if asJSON {
				doc := map[string]any{"schema": "tcplab.kernels/v1", "kernels": here, "images": images, "offered": offered}
				if offerErr != nil {
					doc["offered_error"] = offerErr.Error()
				}
				return writeJSON(a.out, doc)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			for _, k := range here {
				fmt.Fprintf(w, "%s\t%s\n", k.Release, a.plain(k.From))
				if k.Problem != "" {
					fmt.Fprintf(w, "\t%s\n", a.plain(k.Problem))
				}
			}
			for _, k := range images {
				fmt.Fprintf(w, "%s\tunpacked from %s (ID %s)\n", k.Release, a.plain(k.From), k.ShortID())
			}
			for _, release := range offered {
				fmt.Fprintf(w, "%s\toffered by apt\n", release)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if offerErr != nil {
				fmt.Fprintf(a.err, "apt could not be asked: %v\n", offerErr)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

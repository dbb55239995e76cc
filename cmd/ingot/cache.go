package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ingot/fault"
	"ingot/images"
)

// cacheSizeVariable bounds the cache.
const cacheSizeVariable = "INGOT_CACHE_SIZE"

func cacheCommand(c *console) *cobra.Command {
	list := func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknown(cmd, args[0])
		}
		return c.listCache()
	}
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show and prune what builds keep for the next ones",
		Long: `Builds keep finished stages and downloaded packages in a cache, which INGOT_CACHE
names. After a build that added to it, what was unused for longest goes until it has
no more than ` + cacheSizeVariable + `: 30 GiB, or half of the disk where that is less.`,
		Args: cobra.ArbitraryArgs,
		RunE: list,
	}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Show what takes space", Args: cobra.ArbitraryArgs, RunE: list,
	}, pruneCommand(c))
	return cmd
}

func pruneCommand(c *console) *cobra.Command {
	var maxSize, olderThan string
	var all bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove what was unused for longest",
		Long: `Remove stages and packages, the ones that no build used for longest first, until the
cache is as small as asked for. What a running build or machine uses stays.`,
		Example: `  ingot cache prune --max-size 10GiB
  ingot cache prune --older-than 30d
  ingot cache prune --all`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fault.Input(fmt.Errorf("%s takes no arguments; INGOT_CACHE names another cache", cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := pruneOptions(maxSize, olderThan, all)
			if err != nil {
				return fault.Input(err)
			}
			return c.prune(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&maxSize, "max-size", "", "prune to this size, such as 20GiB; "+cacheSizeVariable+" by default")
	flags.StringVar(&olderThan, "older-than", "", "prune what was not used for so long, such as 30d or 12h")
	flags.BoolVar(&all, "all", false, "prune everything that is not in use")
	return cmd
}

func pruneOptions(maxSize, olderThan string, all bool) (images.PruneOptions, error) {
	o := images.PruneOptions{All: all}
	var err error
	switch {
	case all && (maxSize != "" || olderThan != ""):
		return o, errors.New("--all removes everything; leave --max-size and --older-than out")
	case maxSize != "":
		o.MaxBytes, err = parseSize(maxSize)
		if err != nil {
			return o, fmt.Errorf("--max-size: %w", err)
		}
	case olderThan != "":
		o.MaxBytes = images.Unbounded
	default:
		if o.MaxBytes, err = cacheBytes(); err != nil {
			return o, err
		}
	}
	if olderThan != "" {
		if o.OlderThan, err = parseAge(olderThan); err != nil {
			return o, fmt.Errorf("--older-than: %w", err)
		}
	}
	return o, nil
}

// cacheBytes is the bound that the environment sets, 0 when it sets none.
func cacheBytes() (int64, error) {
	text := os.Getenv(cacheSizeVariable)
	switch text {
	case "":
		return 0, nil
	case "unlimited":
		return images.Unbounded, nil
	}
	n, err := parseSize(text)
	if err != nil {
		return 0, fault.Input(fmt.Errorf("%s: %w, or unlimited", cacheSizeVariable, err))
	}
	return n, nil
}

var sizeShape = regexp.MustCompile(`^([0-9]{1,9}) ?([MGT])iB$`)

// parseSize reads a size such as 20GiB, in bytes.
func parseSize(text string) (int64, error) {
	m := sizeShape.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size; write a whole number of MiB, GiB or TiB, such as 20GiB", text)
	}
	n, _ := strconv.ParseInt(m[1], 10, 64) // nine digits fit
	unit := map[string]int64{"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}[m[2]]
	if n == 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("a cache of %s cannot be; use 1MiB or more", text)
	}
	return n * unit, nil
}

var ageShape = regexp.MustCompile(`^([0-9]{1,5})([mhd])$`)

// parseAge reads a time such as 30d.
func parseAge(text string) (time.Duration, error) {
	m := ageShape.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not an age; write a whole number of m, h or d, such as 30d", text)
	}
	n, _ := strconv.Atoi(m[1]) // five digits fit
	return time.Duration(n) * map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]], nil
}

// cacheList is the JSON document of cache and cache list.
type cacheList struct {
	Dir      string          `json:"dir"`
	Bytes    int64           `json:"bytes"`
	MaxBytes int64           `json:"max_bytes"` // -1 is unlimited
	Entries  []images.Cached `json:"entries"`
}

func (c *console) listCache() error {
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		return err
	}
	l := cacheList{Dir: cache.Dir}
	if l.MaxBytes, err = cacheBytes(); err != nil {
		return err
	}
	if l.Entries, err = cache.Entries(); err != nil {
		return err
	}
	for _, e := range l.Entries {
		l.Bytes += e.Bytes
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = cache.MaxBytes(l.Bytes)
	}
	if c.json {
		return c.document(l)
	}
	return c.cacheTable(l)
}

// cacheTable shows a line for each kind, that which was unused for longest first.
func (c *console) cacheTable(l cacheList) error {
	type row struct {
		kind    string
		entries int
		bytes   int64
		used    time.Time
	}
	var rows []row
	for _, e := range l.Entries {
		i := 0
		for i < len(rows) && rows[i].kind != e.Kind {
			i++
		}
		if i == len(rows) {
			rows = append(rows, row{kind: e.Kind})
		}
		rows[i].entries++
		rows[i].bytes += e.Bytes
		rows[i].used = e.Used
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tentries\tsize\tlast used")
	for _, r := range rows {
		if r.kind == images.KindOther {
			fmt.Fprintf(w, "%s\t\t%s\t\n", r.kind, size(r.bytes))
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", r.kind, r.entries, size(r.bytes), r.used.Format("2006-01-02 15:04"))
	}
	bound := "unlimited"
	if l.MaxBytes != images.Unbounded {
		bound = "pruned to " + size(l.MaxBytes)
	}
	fmt.Fprintf(w, "all\t\t%s\t%s\n", size(l.Bytes), bound)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func (c *console) prune(ctx context.Context, o images.PruneOptions) error {
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		return err
	}
	p, err := cache.Prune(ctx, o)
	if err != nil {
		return err
	}
	if c.json {
		return c.document(p)
	}
	for _, e := range p.Removed {
		c.detail("removed %s, %s, last used %s", e.Name, size(e.Bytes), e.Used.Format("2006-01-02 15:04"))
	}
	if p.InUse > 0 {
		c.remark("%d entries are in use and stay", p.InUse)
	}
	return c.write(fmt.Appendf(nil, "removed %d entries, %s; %s are left in %s\n", len(p.Removed), size(p.Bytes), size(p.Left), cache.Dir))
}

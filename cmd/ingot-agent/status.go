package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// report is what the initrd found out about this machine's identity.
type report struct {
	Platform   string   `json:"platform"` // Ignition platform id, "" when unknown
	Configured bool     `json:"configured"`
	Applied    bool     `json:"applied"` // at this boot
	Kept       bool     `json:"kept"`    // an earlier identity, because the config was refused
	Source     string   `json:"source"`
	Tried      []string `json:"tried"`
	Notes      []string `json:"notes"`   // what else the metadata service has said
	Removed    []string `json:"removed"` // found in the identity directory and not allowed there
}

const reportFile = "identity.json"

// write leaves the report in dir, and the flag that opens the network when the
// machine has an identity.
func (r report) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, reportFile), append(b, '\n'), 0o644); err != nil {
		return err
	}
	if !r.Configured {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, configuredFlag), nil, 0o644)
}

// printStatus tells whoever looks at the console what this machine is waiting
// for and how to recognise it.
func printStatus(w io.Writer, root string) error {
	b, err := os.ReadFile(filepath.Join(root, runDir, reportFile))
	if err != nil {
		return err
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("read %s: %w", reportFile, err)
	}
	_, err = io.WriteString(w, r.text(fingerprint(root)))
	return err
}

func (r report) text(fingerprint string) string {
	var s strings.Builder
	line := func(format string, a ...any) { s.WriteString("ingot: " + printable(fmt.Sprintf(format, a...)) + "\n") }
	switch {
	case !r.Configured:
		line("NO INSTANCE CONFIG: this machine has no identity and answers no packet")
	case r.Kept:
		line("INSTANCE CONFIG REFUSED: the identity made from the last good one stays")
	case r.Applied:
		line("instance config applied from %s", r.Source)
	default:
		line("instance config unchanged since the last boot")
	}
	for _, t := range r.Tried {
		// A place that does not exist is of interest while a config is missing.
		if !r.fromSource() || !strings.HasSuffix(t, ": "+notPresent) {
			line("  tried %s", t)
		}
	}
	for _, n := range r.Notes {
		line("  %s", n)
	}
	if !r.Configured {
		line("  platform %s (from DMI)", orUnknown(r.Platform))
		line("give it the instance.ign of \"ingot build\" as user-data and reboot")
	}
	for _, p := range r.Removed {
		line("REMOVED FROM THE IDENTITY: %s did not belong there", p)
	}
	line("host key %s", orUnknown(fingerprint))
	return s.String()
}

// fromSource reports whether a place outside the state volume had the config.
func (r report) fromSource() bool { return r.Configured && r.Source != lastGood }

// printable escapes what could forge a line on the console: the names of files
// that were found on the machine may hold anything.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return b.String()
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// fingerprint is the SSH host key's, as a client shows it; "" without a key.
func fingerprint(root string) string {
	b, err := os.ReadFile(filepath.Join(root, "/var/lib/ingot/ssh/ssh_host_ed25519_key.pub"))
	if err != nil {
		return ""
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return ""
	}
	return ssh.FingerprintSHA256(key)
}

package vm

import "regexp"

// milestone matches the lines that say how far a boot came, from firmware to
// login prompt.
var milestone = regexp.MustCompile(`^SeaBIOS |^Booting from |BdsDxe: (loading|starting) |^Welcome to GRUB|^(Booting|Loading) |` +
	`Linux version |Freeing unused kernel image|Run /(sbin/)?init |systemd \d+.* running in system mode|` +
	`Welcome to |Reached target |Started |Finished |Mounted |Switching root|ignition.*(: Stage|finished|PASSED)|` +
	`Startup finished in | login: ?$|Rebooting|reboot: |Powering (off|down)`)

// lastMilestone is the last line of a console that says how far the boot came,
// empty when there is none.
func lastMilestone(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if milestone.MatchString(lines[i]) {
			return lines[i]
		}
	}
	return ""
}

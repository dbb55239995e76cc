package vm

import (
	"strings"
	"testing"
)

// alarmLines are real lines and the pattern that must win, "" for lines that a
// healthy machine writes too.
func alarmLines() []struct{ line, want string } {
	return []struct{ line, want string }{
		{"[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", "kernel panic"},
		{"[    1.2] Internal error: Oops: 0002 [#1] SMP", "kernel oops"},
		{"[    1.2] BUG: unable to handle page fault for address: ffffa8b0", "kernel oops"},
		{"[    1.2] general protection fault, probably for non-canonical address 0xdead: 0000 [#1]", "kernel oops"},
		{"[    1.2] BUG: kernel NULL pointer dereference, address: 0000000000000008", "kernel bug"},
		{"[    1.2] kernel BUG at mm/slub.c:305!", "kernel bug"},
		{"[    1.2] WARNING: CPU: 1 PID: 77 at kernel/workqueue.c:1790 __queue_work+0x2a", "kernel warning"},
		{"[    1.2] Call Trace:", "call trace"},
		{"[   61.2] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [systemd:1]", "kernel bug"},
		{"[   61.2] rcu: INFO: rcu_preempt self-detected stall on CPU", "kernel stall"},
		{"[  242.1] INFO: task systemd-journal:120 blocked for more than 120 seconds.", "kernel stall"},
		{"[   12.2] Out of memory: Killed process 321 (node) total-vm:1048576kB", "out of memory"},
		{"[   12.2] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)", "out of memory"},
		{"[   12.2] sshd[77]: segfault at 0 ip 0000000000000000 sp 00007ffd", "crashed program"},
		{"systemd[1]: agent.service: Main process exited, code=dumped, status=6/ABRT", "crashed program"},
		{"ignition[412]: panic: runtime error: index out of range", "crashed program"},
		{"panic: assignment to entry in nil map", "crashed program"},
		{"[    3.1] blk_update_request: I/O error, dev vda, sector 2048 op 0x0:(READ)", "I/O error"},
		{"[    3.1] Buffer I/O error on dev dm-0, logical block 0, async page read", "I/O error"},
		{"[    3.1] EXT4-fs error (device vda5): ext4_lookup:1855: inode #2: comm systemd", "file system error"},
		{"[    3.1] erofs: (device dm-0): z_erofs_lz4_decompress_mem: failed to decompress -22", "file system error"},
		{"[    3.1] device-mapper: verity: 254:1: data block 1234 is corrupted", "verity corruption"},
		{"systemd[1]: sysinit.target: Found ordering cycle on nftables.service/start", "ordering cycle"},
		{"You are in emergency mode. After logging in, type \"journalctl -xb\"", "emergency mode"},
		{"[  OK  ] Reached target emergency.target - Emergency Mode.", "emergency mode"},
		{"[  OK  ] Started emergency.service - Emergency Shell.", "emergency mode"},
		{"Press Enter for maintenance", "emergency mode"},
		{"dracut:/# ", "emergency mode"},
		{"Gave up waiting for root file system device.  Common problems:", "emergency mode"},
		{"ALERT!  /dev/vda1 does not exist.  Dropping to a shell!", "emergency mode"},
		{"\x1b[0;1;31m[FAILED]\x1b[0m Failed to start \x1b[0;1;39mnftables.service\x1b[0m - nftables.", "failed unit"},
		{"[\x1b[0;1;31mFAILED\x1b[0m] Failed to start nftables.service", "failed unit"},
		{"systemd[1]: ssh.service: Failed with result 'exit-code'.", "failed unit"},
		{"[DEPEND] Dependency failed for network.target - Network.", "failed dependency"},
		{"systemd[1]: Dependency failed for var.mount - /var.", "failed dependency"},
		{"[ TIME ] Timed out waiting for device dev-mapper-root.device.", "timeout"},
		{"systemd[1]: dev-vda5.device: Job dev-vda5.device/start timed out.", "timeout"},
		{"systemd[1]: Freezing execution.", "systemd halted"},
		{"dracut-initqueue[301]: Warning: dracut-initqueue: timeout, still waiting for following initqueue hooks:", "dracut"},
		{"dracut Warning: Could not boot.", "dracut"},
		{"[    5.1] dracut: FATAL: no root", "dracut"},
		{"ignition[402]: failed to fetch config: unexpected EOF", "ignition"},
		{"ignition[402]: CRITICAL : Ignition failed: invalid config", "ignition"},
		{`[   31.2] audit: type=1400 audit(1795552206.4:4): apparmor="DENIED" operation="open" profile="a" name="/etc/shadow"`, "denied"},
		{"error: file `/a/vmlinuz' not found.", "boot loader"},
		{"grub rescue> ", "boot loader"},
		{"BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x3,0x0): Not Found", "boot loader"},

		// Neighbours that a healthy machine does write.
		{"[    0.0] Kernel command line: root=/dev/vda1 panic=-1 oops=panic systemd.log_level=debug emergency", ""},
		{"[    0.0] Command line: BOOT_IMAGE=/a/vmlinuz roothash=00 rd.emergency=reboot", ""},
		{"[    0.0] Command line: root=/dev/mapper/root rootfstype=erofs ro systemd.verity_root_options=panic-on-corruption panic=10", ""},
		{"[    0.1] ACPI: PM-Timer IO Port: 0x608", ""},
		{"[    0.1] printk: legacy bootconsole [earlyser0] disabled", ""},
		{"[    0.4] DEBUG: nothing is wrong", ""},
		{"[    1.1] EXT4-fs (vda5): mounted filesystem 0000 r/w with ordered data mode. Quota mode: none.", ""},
		{"[    1.1] EXT4-fs (vda5): Mount option errors=remount-ro", ""},
		{"[    1.1] erofs: (device dm-0): mounted with root inode @ nid 36.", ""},
		{"[    1.1] device-mapper: verity: sha256 using implementation \"sha256-ni\"", ""},
		{"[    1.1] pvpanic-pci 0000:00:05.0: registered panic notifier", ""},
		{"[  OK  ] Started systemd-oomd.service - Userspace Out-Of-Memory (OOM) Killer.", ""},
		{"[  OK  ] Stopped target emergency.target - Emergency Mode.", ""},
		{"[  OK  ] Listening on systemd-coredump.socket - Process Core Dump Socket.", ""},
		{"[  OK  ] Reached target time-set.target - System Time Set.", ""},
		{"[  OK  ] Finished fail2ban-restart.service - Restart after a failed login.", ""},
		{"         Starting rescue-keys.service - Load keys…", ""},
		{"ignition[402]: Ignition finished successfully", ""},
		{"ignition[402]: Stage: files", ""},
		{"dracut: Mounted root filesystem /dev/mapper/root", ""},
		{"systemd[1]: Timed out jobs are reported here", ""},
		{"kernel: sysctl kernel.panic_on_oops = 1", ""},
		{"openclaw login: ", ""},
		{"[    0.9] 9p: Installing v9fs 9p2000 file system support", ""},
		{"[    0.0] WARNING: this is a text without a processor", ""},
		{"Booting from Hard Disk...", ""},
	}
}

func TestAlarms(t *testing.T) {
	t.Parallel()
	for _, tt := range alarmLines() {
		found := Alarms("before\r\n" + tt.line + "\r\nafter\r\n")
		switch {
		case tt.want == "" && len(found) > 0:
			t.Errorf("%q raised %q", tt.line, found[0].Pattern)
		case tt.want != "" && len(found) != 1:
			t.Errorf("%q raised %d alarms, want %q", tt.line, len(found), tt.want)
		case tt.want != "" && (found[0].Pattern != tt.want || found[0].Number != 2):
			t.Errorf("%q raised %q on line %d, want %q on 2", tt.line, found[0].Pattern, found[0].Number, tt.want)
		}
	}
}

// TestAlarmPatternsAreTested sees that no pattern is dead: each wins a line.
func TestAlarmPatternsAreTested(t *testing.T) {
	t.Parallel()
	wins := map[string]bool{}
	for _, tt := range alarmLines() {
		wins[tt.want] = true
	}
	for _, p := range alarmPatterns {
		if !wins[p.name] {
			t.Errorf("no line shows that %q works", p.name)
		}
	}
}

func FuzzAlarms(f *testing.F) {
	f.Add("\x1b[31m[FAILED]\x1b[0m x\r\n\x1b]0;title\x07Kernel panic - not syncing\n\xff\xfe")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range Alarms(text) {
			if a.Number < 1 || a.Number > strings.Count(text, "\n")+1 {
				t.Errorf("line %d of %q", a.Number, text)
			}
			if strings.ContainsRune(a.Line, '\x1b') {
				t.Errorf("control sequence left in %q", a.Line)
			}
		}
	})
}

package system

import (
	"fmt"

	"ingot/layers"
)

// MinVarBytes is the least a machine must have for its state.
const MinVarBytes = 512 << 20

// repartFiles are systemd-repart's definitions. The a slot is in them because
// repart matches definitions to existing partitions in order: with only the b
// slot defined it would take the a partitions for it.
func repartFiles(slot int64) []layers.File {
	slots := map[string]string{
		"10-root-a.conf":   partition("root-x86-64", "root-a", slot),
		"20-verity-a.conf": partition("root-x86-64-verity", "verity-a", layers.VerityBytes(slot)),
		"30-root-b.conf":   partition("root-x86-64", "root-b", slot),
		"40-verity-b.conf": partition("root-x86-64-verity", "verity-b", layers.VerityBytes(slot)),
	}
	const why = "lays out the disk at the first boot: "
	var files []layers.File
	for _, name := range []string{"10-root-a.conf", "20-verity-a.conf", "30-root-b.conf", "40-verity-b.conf"} {
		files = append(files,
			file("/usr/lib/ingot/repart.slots.d/"+name, why+"the two slots, when the state has a volume of its own", slots[name]),
			file("/usr/lib/ingot/repart.all.d/"+name, why+"the two slots", slots[name]))
	}
	return append(files, file("/usr/lib/ingot/repart.all.d/50-var.conf", why+"the rest is state", varPartition))
}

func partition(kind, label string, bytes int64) string {
	return fmt.Sprintf("[Partition]\nType=%s\nLabel=%s\nSizeMinBytes=%d\nSizeMaxBytes=%d\n", kind, label, bytes, bytes)
}

var varPartition = fmt.Sprintf("[Partition]\nType=var\nLabel=ingot-var\nFormat=ext4\nSizeMinBytes=%d\nGrowFileSystem=yes\n", MinVarBytes)

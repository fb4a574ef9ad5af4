// SPDX-License-Identifier: Apache-2.0
// The data of report.html stands in it.

const D = JSON.parse(document.getElementById("data").textContent);

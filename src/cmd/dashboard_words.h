/* What a rotation does, in sentences. Pure. */
#pragma once

/* Of a phase, as KeyRotation.status.phase has it (NULL and "": none yet). Static. */
const char *dashboard_doing(const char *phase);

# SPDX-License-Identifier: MIT
# Debian packages, made from the install components by `cpack` (see `tools/dev package`). They are for a
# build that is configured for /usr, as the preset "package" is: elsewhere there is no place where
# libraries of several architectures stand beside each other.

set(CPACK_GENERATOR DEB)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL runtime dev tools)
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # each package has its own
set(CPACK_PACKAGE_CONTACT "ringbus developers <developers@ringbus.example.org>")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(package_version ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
set(library_package libringbus${PROJECT_VERSION_MAJOR})

# ringbus_package(COMPONENT NAME SECTION DEPENDS SUMMARY, then what follows the common description)
function(ringbus_package component name section depends summary description)
  string(TOUPPER ${component} upper)
  set(text "Processes on one host pass messages through shared memory with no system
call, no lock and no copy that was not asked for, and the death of any of
them at any instruction harms nobody else.
.
${description}")
  foreach(setting "DEBIAN_${upper}_PACKAGE_NAME;${name}" "DEBIAN_${upper}_PACKAGE_SECTION;${section}"
    "DEBIAN_${upper}_PACKAGE_DEPENDS;${depends}" "DEBIAN_${upper}_DESCRIPTION;${summary}\n${text}")
    list(POP_FRONT setting variable)
    set(CPACK_${variable} "${setting}" PARENT_SCOPE)
  endforeach()
  set(documents ${PROJECT_BINARY_DIR}/package/${name})
  string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC) # heeds SOURCE_DATE_EPOCH
  string(TIMESTAMP year "%Y" UTC)
  file(READ LICENSE licence)
  file(WRITE ${documents}/copyright "ringbus is Copyright (c) ${year} ringbus contributors.\n\n${licence}")
  file(WRITE ${documents}/changelog.Debian "ringbus (${package_version}) unstable; urgency=medium

  * Made from the sources of ${PROJECT_VERSION}.

 -- ${CPACK_PACKAGE_CONTACT}  ${date}
")
  execute_process(COMMAND ${RINGBUS_GZIP} -9nf ${documents}/changelog.Debian
    COMMAND_ERROR_IS_FATAL ANY)
  install(FILES ${documents}/copyright ${documents}/changelog.Debian.gz
    DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/${name} COMPONENT ${component})
endfunction()

ringbus_package(runtime ${library_package} libs "" "lock-free message bus in one mapped file - library"
  "This package has the shared library.")
ringbus_package(dev libringbus-dev libdevel
  "${library_package} (= ${package_version}), libatomic-ops-dev, libc6-dev"
  "lock-free message bus in one mapped file - development"
  "This package has the headers for C and C++, the static library, what pkg-config
and CMake need, and the manual pages.")
ringbus_package(tools ringbus-tools utils "${library_package} (>= ${PROJECT_VERSION})"
  "lock-free message bus in one mapped file - commands"
  "This package has the command that makes, fills, reads, shows and repairs rings.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_MULTIARCH same)
set(CPACK_DEBIAN_DEV_PACKAGE_MULTIARCH same)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_TOOLS_PACKAGE_SHLIBDEPS ON)
file(WRITE ${PROJECT_BINARY_DIR}/package/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${PROJECT_BINARY_DIR}/package/triggers)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR})
include(CPack)
